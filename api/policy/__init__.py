"""Who may ask, how much, and from which web pages."""
