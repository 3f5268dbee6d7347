"""Which positions the paper's reference trains on, as examples for the ordinary trainer.

The reference masks per-position losses with the unshifted attention mask: every token of prompt and
answer counts, the last one included, which predicts nothing that was written. Here a response is what
is predicted, so these positions are those of an example whose prompt is its first token and whose
response is all the rest and one token more. That token is only a place: no position sees it, and a
divergence between two distributions needs no label. Its negative log-likelihood is the ordinary shifted
one, over the prompt too.

Source: DESIGN, section 4, `paper` variants.
"""

from kdscope.data.collation import Encoded


def every_position(example: Encoded, filler: int) -> Encoded:
    """An example whose supervised positions are all of its tokens'; ``filler`` is any token id."""
    ids = (*example.prompt, *example.response)
    return Encoded(example.id, ids[:1], (*ids[1:], filler))


def every_token(example: Encoded) -> Encoded:
    """An example whose supervised tokens are all but its first one, the prompt's included."""
    ids = (*example.prompt, *example.response)
    return Encoded(example.id, ids[:1], ids[1:])
