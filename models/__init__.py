"""What a key, a value, a filter and a store are: the rules, without HTTP."""
