"""Does the model know what it does not know: detectors of inputs that are unlike those it was made for.

One sign for all: a high score is more out-of-distribution.

    fitted = fit(Reader(model), batches, [kind() for kind in detectors.all().values()])     # one pass for all of them
    guard = calibrate(fitted, fitted.scores(model, held), content_keys(held), keep=0.95)    # other images
    save(guard, "detector/"); guard = load("detector/", model)
    verdicts = guard.judge(guard.scores(model, inputs))
    verdicts["combined"].inside, .p_values, .scores              # (n,) each; also by detector and family of evidence
    evaluate(inside_scores, outlier_scores)["AUROC"].value       # with .low and .high

detectors/ holds the contract and a file a detector; statistics, gaussians, density, energies and shaping what they
share. features looks at the model, head finds its last linear layer, fitting sums up; calibration, combination and
guard turn scores into verdicts; metrics and probes try them; saving keeps them. target makes a score a model's output,
so that explainers can ask why it is high; gallery finds the known images that are most alike.
"""
