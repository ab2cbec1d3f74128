"""The policy: what must hold, said before anything is measured.

`audit.yaml` is read by `reading`, its fields stand in `fields`; a requirement is an `expression` over a `metric`, found
in the findings by `metrics` and decided by `decide`. `start` writes a first policy.

What the short metrics look for, by family and name of the value; findings about all inputs (`input` is None), with ids
that are unique in the run, and a parameter "labels" that is "given" where labels were:

    accuracy                    performance (else robustness, bounds): "accuracy"
    class_accuracy, worst_...   performance: "accuracy of class NAME"
    group_accuracy, worst_...   performance: "accuracy of group NAME"
    robust_accuracy             robustness: "robust accuracy at SIZE"; parameters "norm", "plan"
    certified_accuracy          bounds: "certified accuracy at SIZE"; parameter "norm"
    verified_accuracy           verification: "verified accuracy at SIZE"; parameters "norm", "epsilons": the size
    verified('PROPERTY')        property, of title PROPERTY: its verdict
    smoothed_accuracy           smoothing: "certified accuracy at SIZE"; parameter "norm"
    corruption(NAME, SEVERITY)  corruption, of method NAME: "accuracy at severity SEVERITY"
    ece                         calibration: "ece", with its bootstrap interval
    FAMILY.VALUE(ARGUMENT)      any: "VALUE", or "VALUE on ARGUMENT"; an ARGUMENT may be method, input or a parameter
    FAMILY.MEASURE(METHOD)      any: the share of findings that a measure of that name speaks for
"""
