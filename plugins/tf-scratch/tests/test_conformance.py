from lstmbench.testing import Conformance


class TestTFScratch(Conformance):
    backend = "tf-scratch"
