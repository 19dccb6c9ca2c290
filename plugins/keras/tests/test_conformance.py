from lstmbench.testing import Conformance


class TestKeras(Conformance):
    backend = "keras"


class TestKerasJax(Conformance):
    backend = "keras-jax"


class TestKerasTorch(Conformance):
    backend = "keras-torch"
