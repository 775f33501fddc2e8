"""Generate tokens (3.3, B.3): the engines, the protocol that they follow, the store around them, and shards."""
