"""YAML files as trees with places: what policy and agent.yaml are read through, so that mistakes are told alike."""
