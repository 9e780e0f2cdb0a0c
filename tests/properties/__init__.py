"""A million inputs made from what is declared, beside an innocent client: ``python -m tests.properties``."""
