"""What is recorded of each request: a log line and metrics."""
