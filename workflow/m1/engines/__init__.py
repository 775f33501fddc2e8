"""What generates tokens (3.3, B.3): the protocol, the cached engine, shards, and the engines themselves."""
