"""Mathematics and loops, compiled: they know no threads, and are stamped together for the cache."""
