"""What geodrop remembers between runs: rulesets, the generation number, intent. Standard library only."""
