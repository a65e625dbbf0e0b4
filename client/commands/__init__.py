"""The commands of the client; `client/program.py` is the program that has them."""
