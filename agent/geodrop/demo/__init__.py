# SPDX-License-Identifier: Apache-2.0
"""`geodrop demo`: real verbs and real connections, in network namespaces that exist only while the demo runs."""
