"""The ``"numpy"`` backend, and the oracle of the tests."""
