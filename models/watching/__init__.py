"""What changes under keys, told to those who watch them."""
