"""The only door to redis-py: clients, connections, commands and Lua scripts."""
