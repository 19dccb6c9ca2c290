from lstmbench.testing import Conformance


class TestNumpy(Conformance):
    backend = "numpy"
