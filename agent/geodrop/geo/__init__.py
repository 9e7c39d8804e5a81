"""GeoIP databases and the algebra of address intervals. numpy lives here and in `compile`, and nowhere else."""
