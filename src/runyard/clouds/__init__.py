"""
What the agent needs of a cloud: to know who it is, to keep files, to find and delete images.

Small interfaces (`base`), one module for each vendor, which is its SDK's only home. Credentials are
ambient: an instance's role, a workload identity, the environment, a login that somebody made.
"""
