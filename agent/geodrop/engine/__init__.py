# SPDX-License-Identifier: Apache-2.0
"""What both engines share: the protocol they implement, interfaces, control traffic, spot checks."""
