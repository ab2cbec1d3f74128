"""Make the Keras networks of this folder anew; needs tensorflow and tf2onnx, which no test does.

python make_keras.py
for name in keras keras_recurrent; do
    python -m tf2onnx.convert --saved-model $name --opset 17 --output $name.onnx; rm -r $name
done
"""

import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

keras.utils.set_random_seed(0)
generator = np.random.default_rng(0)
convolutional = keras.Sequential(
    [
        keras.Input((20, 24, 3)),
        layers.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="first"),
        layers.BatchNormalization(name="norm"),
        layers.DepthwiseConv2D(3, padding="same", name="depth"),
        layers.MaxPooling2D(2, padding="same"),
        layers.Conv2D(8, 3, padding="valid", activation="swish", name="last"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4, activation="softmax", name="head"),
    ]
)
for weight in convolutional.weights:
    if "moving" in weight.path:
        weight.assign(tf.random.uniform(weight.shape, 0.5, 1.5, seed=1))
x = generator.random((3, 20, 24, 3)).astype("f4")
convolutional.export("keras")
recurrent = keras.Sequential(
    [keras.Input((12, 5)), layers.GRU(7, return_sequences=True), layers.LSTM(6), layers.Dense(3)]
)
xr = generator.random((3, 12, 5)).astype("f4")
recurrent.export("keras_recurrent")
np.savez("keras.npz", x=x, y=convolutional(x).numpy(), xr=xr, yr=recurrent(xr).numpy())
