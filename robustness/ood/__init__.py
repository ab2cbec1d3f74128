"""Does the model know what it does not know: detectors of inputs that are unlike those it was made for.

One sign for all: a high score is more out-of-distribution.

    reading = Reader(model)                                        # features.py: what detectors look at
    fitted = fit(model, batches, detectors.all() ...)              # fitting.py: one pass for all of them
    scores = fitted.score(model, inputs)                           # {name: (n,)}
    calibration = calibrate(scores_of_held_back_images, keep=0.95) # calibration.py: thresholds, p-values
    verdict = combine(...)                                         # combination.py: one answer of all families
    save(guard, folder); load(folder, model)                       # saving.py
"""
