"""The parts of a request: each is read strictly, or refused."""
