"""What a request costs: the service beside other programs that do the same, run by `make bench`.

Not part of the distribution, and not of the test suite.
"""
