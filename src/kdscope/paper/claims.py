"""Every claim of the paper's text and poster, checked against its data."""

from kdscope.paper.claims_ablations import ABLATION_CHECKS
from kdscope.paper.claims_alignment import ALIGNMENT_CHECKS
from kdscope.paper.claims_gains import GAIN_CHECKS
from kdscope.paper.examination import Reexamination
from kdscope.paper.printed import rows
from kdscope.paper.records import Claim

CHECKS = GAIN_CHECKS | ALIGNMENT_CHECKS | ABLATION_CHECKS


def check_claims(x: Reexamination) -> list[Claim]:
    """Each claim with its printed value, the recomputed one and a verdict, in the table's order."""
    found = []
    for row in rows("claims.csv"):
        finding = CHECKS[row["id"]](x)
        presets = tuple(row["presets"].split("; ")) if row["presets"] else ()
        told = row["claim"], row["where"], row["printed"]
        found.append(Claim(*told, *finding, presets, row["status"]))
    return found
