"""What geodrop says of itself, read from the kernel and the state directory: the objects of each verb's --json.

Commands ask here when no daemon runs, and the daemon when it is asked. Showing them to people is the commands' part.
"""
