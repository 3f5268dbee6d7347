from kdscope.paper.claims import CHECKS, check_claims
from kdscope.paper.printed import rows

VERDICTS = {"holds", "holds in part", "fails", "not supported", "cannot be checked"}


def test_every_claim_has_a_check_and_every_check_a_claim():
    assert {row["id"] for row in rows("claims.csv")} == set(CHECKS)


def test_claims_with_the_released_files(full):
    found = {
        row["id"]: claim for row, claim in zip(rows("claims.csv"), check_claims(full), strict=True)
    }
    assert {claim.verdict for claim in found.values()} == VERDICTS
    assert found["always_better"].recomputed == "below SFT: 2 of 33; 4 of 33"
    assert "5.97; 2.37" in found["revkd_gain"].recomputed
    assert found["tau_default"].verdict == "fails"
    assert "28.9; 50.9" in found["untuned_teacher"].recomputed
    assert found["qwen_15"].recomputed.startswith("best 7.39; 5.75")
    assert found["large_models"].recomputed.startswith("mean -0.12 in math, 1.24")
    unknown = [key for key, claim in found.items() if claim.verdict == "cannot be checked"]
    assert unknown == [
        "noise_sweep",
        "table_9",
        "noise_commonsense",
        "self_fidelity",
        "three_benchmarks",
    ]
    assert found["tau_five"].verdict == "holds"
    assert found["agreement_size"].verdict == "fails"


def test_claims_without_files_say_what_they_need(printed):
    found = check_claims(printed)
    needing = [claim for claim in found if "--results" in claim.note]
    assert len(needing) >= 10
    assert all(claim.note and claim.verdict in VERDICTS for claim in found if claim.note)


PRESETS = {
    *("paper-math", "paper-commonsense", "clean-math", "clean-commonsense", "poster"),
    *("ablation-noise", "ablation-temperature", "ablation-teacher", "single-gpu"),
}


def test_every_claim_names_the_studies_that_test_it_or_says_that_none_can(printed):
    found = check_claims(printed)
    assert {name for claim in found for name in claim.presets} == PRESETS
    for claim in found:
        assert claim.status.startswith("not run (" if claim.presets else "no run can tell")
