"""PrivateGPT API v1 (contract 2). Its spelling, its envelope and its odd statuses live here and nowhere else."""
