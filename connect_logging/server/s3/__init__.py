"""Objects in S3, or where its API is spoken, at addresses that the server may use and nowhere else."""
