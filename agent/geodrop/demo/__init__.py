"""`geodrop demo`: the real verbs and real connections, in network namespaces that exist as long as the demo does."""
