"""A table for machines without the California one: its columns, made up, the same rows for the same seed.

Inputs have about the ranges and the skewness of California's, and its two clusters of places. The true value is
what the bundled model says of them and normal noise of 0.3, which nothing learns: so that model is right, with an
MAE of 0.24, until somebody shifts the true values. It says nothing about houses.
"""
import csv
import io
import math
import random
import subprocess

TARGET = "MedHouseVal"
COLUMNS = ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude")
NOISE = 0.3


def inputs(r):
    latitude = r.gauss(37.9, 0.6) if r.random() < 0.42 else r.gauss(34.1, 0.5)
    longitude = -120.0 - 0.8 * (latitude - 36) + abs(r.gauss(0, 0.8))
    income = min(15.0, max(0.5, math.exp(r.gauss(1.25, 0.5))))
    return (income, r.uniform(1, 52), max(1.0, r.gauss(3.6 + 0.45 * income, 0.8)), max(0.6, r.gauss(1.05, 0.1)),
            max(3.0, math.exp(r.gauss(7.0, 0.7))), max(1.0, math.exp(r.gauss(1.05, 0.22))), latitude, longitude)


def write(path, rows, seed, ridge, model):
    """ridge: the program; model: the artifact that knows the true values."""
    r = random.Random(seed)
    table = ",".join(COLUMNS) + "\n" + "".join(
        ",".join(f"{value:.6g}" for value in inputs(r)) + "\n" for _ in range(rows))
    said = subprocess.run([ridge, "predict", "--model", model, "--data", "-"], input=table, capture_output=True,
                          text=True, check=True).stdout
    with path.open("w", encoding="ascii") as out:
        out.write(",".join((*COLUMNS, TARGET)) + "\n")
        for row in csv.DictReader(io.StringIO(said)):
            value = float(row["prediction"]) + r.gauss(0, NOISE)
            out.write(",".join(row[name] for name in COLUMNS) + f",{max(0.15, value):.6g}\n")
