"""Other engines, each under the contract of `index.bench.ann.engine`. None of them is needed to run perwatt."""
