"""What both engines share: the protocol they implement, interfaces, control traffic, spot checks."""
