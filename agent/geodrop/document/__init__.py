# SPDX-License-Identifier: Apache-2.0
"""Read YAML files as trees with places. Policy and agent.yaml share this, so their mistakes are reported alike."""
