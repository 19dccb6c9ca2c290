from lstmbench.testing import Conformance


class TestTorch(Conformance):
    backend = "torch"


class TestTorchScratch(Conformance):
    backend = "torch-scratch"
