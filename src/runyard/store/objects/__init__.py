"""Where the bytes of files and artifacts lie: a directory, S3, or Google Cloud Storage."""
