"""A first policy, with comments: what `xai audit --init MODEL DATA` writes."""

from __future__ import annotations

import json

_TEXT = """\
# A policy: what must hold of a model, said before anything is measured.
# The report shows this file's sha256 and the time when it was read. `xai config schema` prints all fields.

model:
  source: {model}
  intended_use: >-
    Say what the model is to be used for, by whom, and who is affected by its answers.
  not_for: >-
    Say what it must not be used for.

# The operational domain: the conditions under which the model is to work.
domain:
  description: >-
    Say where the inputs come from, and what they can look like.
  conditions: []            # one by one: "daylight", "sensor A", "adults"

# What may happen to an input, in input units (pixels in [0, 1]).
threat:
  norm: linf                # linf, l2 or l1
  epsilons: [1/255, 2/255]
  plan: standard            # the named set of attacks

data:
  test: {data}
  # calibration: held-out/  # what a temperature and detectors are fitted on; never the test data
  # ood:                    # what the model was not trained for, by name
  #   noise: foreign/noise
  # groups: [day, night]    # groups that the test data must hold

# properties: properties.yaml   # statements of the outputs, each of which is decided: docs/properties.md
# verification:
#   seconds: 10             # for each image and size of verified_accuracy, and for each property

confidence: 95 %            # a verdict is wrong with a probability of at most 5 %

# A requirement is METRIC COMPARISON NUMBER, alone or with id, text, severity and clauses. Metrics: accuracy,
# class_accuracy(NAME), group_accuracy(NAME), worst_class_accuracy, worst_group_accuracy, ece,
# robust_accuracy(PLAN, NORM, SIZE), certified_accuracy(NORM, SIZE), verified_accuracy(NORM, SIZE),
# corruption(NAME, SEVERITY), ood.auroc(SET), explanation.MEASURE; any other value of the report as
# value(FINDING, 'NAME'). robust_accuracy without a plan is the least that any plan leaves. What is certified, by one
# pass of bounds, or verified, by a search that takes its seconds for each image, is the least that withstands: too
# little of it is not decided, and violated only where attacks leave less. verified('NAME') stands alone: a property.
# These numbers are examples: put in those that your use needs.
requirements:
  - id: ACC
    text: The model is right for at least nine of ten inputs.
    require: accuracy >= 90 %
    severity: must          # must, should or may
    clauses: [{clauses}]
  - id: ROB
    text: Most answers withstand the changes that are expected.
    require: robust_accuracy(standard, 1/255) >= 50 %
    severity: should
  - ece <= 0.1

# Which images are explained; take the whole part out for none.
explanations:
  right: 2
  wrong: 2
  least_sure: 2
  most_attacked: 2

profiles: [{profiles}]
"""


def first_policy(model: str, data: str, *, profiles: tuple[str, ...] = (), clauses: tuple[str, ...] = ()) -> str:
    """Return the text of a policy for a model and its test data, with comments; it can be read as it stands.

    Args:
        model: as it is named on the command line.
        data: likewise.
        profiles: standards that are served.
        clauses: "<profile> <clause>" that the first requirement serves.
    """
    return _TEXT.format(
        model=_quoted(model),
        data=_quoted(data),
        profiles=", ".join(map(_quoted, profiles)),
        clauses=", ".join(map(_quoted, clauses)),
    )


def _quoted(text: str) -> str:
    """Return a text as YAML writes it in double quotes."""
    return json.dumps(text, ensure_ascii=True)
