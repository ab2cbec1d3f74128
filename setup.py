"""Find the packages of the four wings, so that no folder has to be listed by hand."""

from setuptools import find_packages, setup

WINGS = {"xai": "xai", "xai.models": "models", "xai.reports": "reports", "xai.robustness": "robustness"}

setup(
    packages=[
        name
        for package, folder in WINGS.items()
        for name in (package, *(f"{package}.{inner}" for inner in find_packages(folder)))
    ]
)
