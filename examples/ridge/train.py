"""Ridge regression over the diabetes data, once per alpha: an ordinary training script.

It needs scikit-learn and nothing else. Run it by hand with ``python train.py``, or put the same file on
record with ``onrecord run train.py``. Models and a summary go to ``outputs/``, the log to ``logs/``, both
in the current directory.
"""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import NamedTuple

import joblib
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

try:
    from onrecord import Run
except ImportError:  # without onrecord everything below works the same, only nothing is on record
    run = None
else:
    run = Run.get_context()

SEED = 0
SWEEP = [round(0.05 * step, 2) for step in range(21)]  # 0.00, 0.05, ... 1.00
OUTPUTS = Path("outputs")
LOG_FILE = Path("logs/training.log")


class Result(NamedTuple):
    """What one alpha came to: its mean squared error on the test rows, and its model's file name."""

    alpha: float
    mse: float
    model: str


def alpha_value(text: str) -> float:
    """One regularisation strength from the command line, finite and not negative."""
    try:
        alpha = float(text)
    except ValueError:
        alpha = math.nan
    if not math.isfinite(alpha) or alpha < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number of at least 0")
    return alpha


def alpha_list(text: str) -> list[float]:
    """Several strengths separated by commas, in their given order, each once."""
    return list(dict.fromkeys(alpha_value(part) for part in text.split(",")))


def parse_alphas() -> list[float]:
    """The alphas to try: one, a list, or the whole sweep."""
    parser = argparse.ArgumentParser(description="Fit ridge regression over the diabetes data.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--alpha", type=alpha_value, help="train a single model with this strength")
    choice.add_argument("--alphas", type=alpha_list, help="train one per strength, as in 0.1,0.5")
    args = parser.parse_args()
    if args.alpha is not None:
        return [args.alpha]
    return args.alphas or SWEEP


def label(alpha: float) -> str:
    """The alpha as file names show it: two decimals, or as many as tell it from its neighbours."""
    short = f"{alpha:.2f}"
    return short if float(short) == alpha else repr(alpha)


def train(alphas: list[float]) -> list[Result]:
    """Fit and save one model per alpha, telling of each on the screen, in the log and on record."""
    features, target = load_diabetes(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(features, target, test_size=0.2, random_state=SEED)

    results = []
    with LOG_FILE.open("w", encoding="utf-8", buffering=1) as log:  # a line is on disk once it is written
        for alpha in alphas:
            model = Ridge(alpha=alpha).fit(x_train, y_train)
            mse = float(mean_squared_error(y_test, model.predict(x_test)))
            result = Result(alpha, mse, f"ridge_{label(alpha)}.pkl")
            joblib.dump(model, OUTPUTS / result.model)
            results.append(result)

            line = f"alpha is {label(alpha)}, and mse is {mse:.2f}"
            print(line, flush=True)
            print(line, file=log)
            if run is not None:
                run.log("alpha", alpha)
                run.log("mse", mse)
    return results


def main() -> None:
    alphas = parse_alphas()
    OUTPUTS.mkdir(exist_ok=True)
    LOG_FILE.parent.mkdir(exist_ok=True)

    results = train(alphas)
    best = min(results, key=lambda result: result.mse)
    shutil.copyfile(OUTPUTS / best.model, OUTPUTS / "best_model.pkl")
    summary = {"seed": SEED, "best": best._asdict(), "results": [result._asdict() for result in results]}
    (OUTPUTS / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    if run is not None:
        run.tag("best_alpha", label(best.alpha))
    print(f"best is alpha {label(best.alpha)} with mse {best.mse:.2f}: outputs/best_model.pkl")


if __name__ == "__main__":
    main()
