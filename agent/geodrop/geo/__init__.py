# SPDX-License-Identifier: Apache-2.0
"""GeoIP databases and operations on address intervals. Only this package and `compile` import numpy."""
