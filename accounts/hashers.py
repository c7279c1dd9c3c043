"""How passwords are hashed."""

from django.contrib.auth.hashers import Argon2PasswordHasher


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with OWASP's least memory: Django's own 100 MiB for each sign-in is more than the whole server takes."""

    memory_cost = 19_456  # KiB
    time_cost = 2
    parallelism = 1
