from lstmbench.testing import Conformance


class TestJax(Conformance):
    backend = "jax"
