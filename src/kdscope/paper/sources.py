"""Where the paper's released result files come from, pinned by commit and checksum."""

from pathlib import Path

import pooch

from kdscope.errors import DataError

REPOSITORY = "LCS2-IIITD/KD_generalization"
COMMIT = "a5fed92e2c749ee5dda78aa26f61cce4529f2157"
RETRIES = 2
LICENCE = "Apache-2.0"
URL = f"https://raw.githubusercontent.com/{REPOSITORY}/{COMMIT}/results/"

# SHA-256 of each file.
RESULT_FILES = {
    "BLEU.csv": "c391034c126bca03e6839f598d97d3ff7ab325d2cd78a7104f3742b563be985a",
    "BLEU2.csv": "ef2052e3793db1b86f8d2cda6d0d0018e173580f3a350a394d8e37a8e9221e58",
    "EM1.csv": "389ae4fc196e654e4de803371126e1a167be5eb912cceaa20d17decd5c90f73a",
    "EM1_cs.csv": "748e0ba4ab83411396802d75d10d87f4d9acabb737558122f888ceaefe16a709",
    "EM2.csv": "c40d109b45e51a2e317c951ece469c3fa0331560f4776dc391fe5ab834ab2b83",
    "EM2_cs.csv": "e669ff492d5a52c51ebeb0c7ab1b59840c0b04c64e868c9d4b678297161f818f",
    "cs_results_main.csv": "6bec3505cbf71e5e41162accdc6b82f42f61b2203690da0ded8f7e66a4b134ed",
    "llama_cs_results.csv": "8ac66d3ada5ac24e68d74796f7991757f2e7eab8863822820d7f857844979e7e",
    "llama_math_results.csv": "7247b92659f581b7122d6cb2855a09532a540b4b3b51a7bd7986232c173f6357",
    "math_results_main.csv": "375c370b37297f572841851e46d6b54986126a27f0b7d1cc58bd65760a17183a",
}


def fetch_paper_results(folder: Path, *, offline: bool = False) -> Path:
    """Download the result files that are not there yet, check them, and return their folder.

    Args:
        folder: where to keep them.
        offline: the environment forbids the network: what is missing is an error.

    Raises:
        DataError: a download failed, or a file is not the one that was pinned.
    """
    if offline and not all((folder / name).is_file() for name in RESULT_FILES):
        raise DataError(
            f"the paper's result files are not in {folder} and the environment forbids the network "
            "(HF_HUB_OFFLINE or KDSCOPE_OFFLINE is set); unset it, or copy them there"
        )
    store = pooch.Pooch(folder, URL, RESULT_FILES, retry_if_failed=RETRIES)
    for name in RESULT_FILES:
        try:
            store.fetch(name, progressbar=False)
        except Exception as error:  # pooch raises what its downloaders raise
            raise DataError(
                f"{name} could not be fetched from {URL}: {error}. Check the connection, or copy "
                f"the folder `results` of {REPOSITORY} at commit {COMMIT[:12]} to {folder}"
            ) from error
    return folder
