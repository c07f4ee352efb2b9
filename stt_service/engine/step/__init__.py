"""Our own forward step of Kyutai's streaming models, with explicit state.

`moshi_model` is what the engine steps. Below it, in the order of a step: `mimi` turns a frame of
audio into codes, `language_model` turns codes into a text id, both with the layers of
`transformer`. `weights` reads moshi's modules into plain tensors once; `state` is everything that
a slot remembers. Beside the benchmarks, only this package imports torch and
moshi.
"""
