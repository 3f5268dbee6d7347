"""Every claim of the paper's text and poster, checked against its data."""

from kdscope.paper.claims_alignment import ALIGNMENT_CHECKS
from kdscope.paper.claims_gains import GAIN_CHECKS
from kdscope.paper.examination import Reexamination
from kdscope.paper.printed import rows
from kdscope.paper.records import Claim

CHECKS = GAIN_CHECKS | ALIGNMENT_CHECKS


def check_claims(x: Reexamination) -> list[Claim]:
    """Each claim with its printed value, the recomputed one and a verdict, in the table's order."""
    found = []
    for row in rows("claims.csv"):
        finding = CHECKS[row["id"]](x)
        found.append(Claim(row["claim"], row["where"], row["printed"], *finding))
    return found
