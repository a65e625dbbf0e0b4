"""Authentication, the rate limit, and rules for web browsers."""
