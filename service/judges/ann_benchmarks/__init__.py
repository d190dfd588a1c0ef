"""The algorithm's folder of ann-benchmarks, and of VIBE, which took its shape over: module.py and config.yml.

A checkout of either finds it where it lies, and nothing is added there:

    python run.py --local --definitions …/service/judges --algorithm perwatt --dataset glove-100-angular
"""
