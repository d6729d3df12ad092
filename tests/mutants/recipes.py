"""Values of recipes and defaults that are not those of their sources."""

LONG = (
    "test_recipes.py::"
    "test_the_page_has_every_value_and_the_recipe_has_those_of_the_page"
)
SHORT = "test_recipes.py::test_the_short_recipes_are_those_that_were_measured"
PIRL = (
    "methods/test_pirl_variants.py::"
    "test_the_recipes_of_the_paper_and_of_vissl_are_what_they_published"
)

# File in helpers/ → test in tests/ → pairs of a text and what takes its place.
FAULTS = {
    "methods/base.py": {
        LONG: [
            ('"epochs": 200,', '"epochs": 100,'),
            ('"batch_size": 256,', '"batch_size": 512,'),
            ('"learning_rate": 0.06,', '"learning_rate": 0.6,'),
            ('"weight_decay": 5e-4,', '"weight_decay": 1e-4,'),
            ('"stem": "pool",', '"stem": "imagenet",'),
            ('"size": 64,', '"size": 96,'),
            ('"blur": 0.5,  # MoCo', '"blur": 0.0,  # MoCo'),
            ('"saturation": 0.2}', '"saturation": 0.4}'),
            ("hidden_dim: int = 512", "hidden_dim: int = 256"),
            ("output_dim: int = 128", "output_dim: int = 256"),
            ("small_views: int = 4", "small_views: int = 6"),
            ("small_size: int = 32", "small_size: int = 48"),
            ("float] = (0.05, 0.14)", "float] = (0.05, 0.4)"),
            ("float] = (0.6, 1.0)", "float] = (0.2, 1.0)"),
            ("patch_blur: float = 0.0", "patch_blur: float = 0.5"),
            ("grid: int = 3", "grid: int = 2"),
        ],
        SHORT: [
            ('"batch_size": 64,', '"batch_size": 128,'),
            ('"optimizer": "adamw",', '"optimizer": "adam",'),
            ('"learning_rate": 6e-3,', '"learning_rate": 6e-4,'),
            ('"weight_decay": 1e-4,', '"weight_decay": 1e-2,'),
            ('"epochs": 8, "size": 40', '"epochs": 8, "size": 32'),
            ('"epochs": 20, "size": 48', '"epochs": 30, "size": 48'),
        ],
    },
    "methods/pirl.py": {
        LONG: [
            ("temperature: float = 0.1", "temperature: float = 0.07"),
            ("weight: float = 0.5", "weight: float = 0.3"),
            ("bank_momentum: float = 0.5", "bank_momentum: float = 0.9"),
            ("negatives: int = 0", "negatives: int = 4_096"),
        ],
    },
    "methods/pirl_variants.py": {
        LONG: [
            ('"temperature": 0.07,', '"temperature": 0.1,'),
            (
                '"negatives": 32_000,\n        "jitter"',
                '"negatives": 4_096,\n        "jitter"',
            ),
            (
                '"hue": 0.2,\n        "photometric"',
                '"hue": 0.1,\n        "photometric"',
            ),
            ('"weight_decay": 1e-4,', '"weight_decay": 1e-2,'),
            ('"learning_rate": 0.03,', '"learning_rate": 0.12,'),
            ('"final_factor": 0.001,', '"final_factor": 0.0,'),
            ('"warmup_epochs": 0.0,', '"warmup_epochs": 50.0,'),
            ('"scale": (0.08, 1.0),', '"scale": (0.2, 1.0),'),
            ('"patch_blur": 0.5,', '"patch_blur": 0.0,'),
            ('"brightness": 0.8,', '"brightness": 0.4,'),
            ('pretext: str = "jigsaw"', 'pretext: str = "rotation"'),
            ('head: str = "mlp"', 'head: str = "linear"'),
        ],
        PIRL: [
            ('"photometric": 0.66,', '"photometric": 1.0,'),
            ('"cell": 85,', '"cell": 75,'),
            ('"patch": 64,', '"patch": 75,'),
        ],
        SHORT: [
            ('"saturation": 0.8, "hue": 0.5}', '"saturation": 0.8, "hue": 0.1}'),
            ('"learning_rate": 12e-3', '"learning_rate": 12e-4'),
            ('"cell": 27,', '"cell": 30,'),
        ],
    },
    "methods/byol.py": {
        LONG: [
            ("hidden_dim: int = 1024", "hidden_dim: int = 512"),
            ("target_momentum: float = 0.99", "target_momentum: float = 0.5"),
            ("predictor_scale: float = 1.0", "predictor_scale: float = 10.0"),
            ("standardize: bool = False", "standardize: bool = True"),
            ('long={"learning_rate": 0.1}', 'long={"learning_rate": 0.06}'),
        ],
        SHORT: [
            ('"target_momentum": 0.97', '"target_momentum": 0.99'),
            (
                '"predictor_scale": 10.0,\n        },\n        gpu_hour',
                '"predictor_scale": 1.0,\n        },\n        gpu_hour',
            ),
        ],
    },
    "methods/simclr.py": {
        LONG: [("temperature: float = 0.2", "temperature: float = 0.5")],
    },
    "methods/simsiam.py": {
        LONG: [
            ('long={"learning_rate": 0.03}', 'long={"learning_rate": 3.0}'),
            ("hidden_dim: int = 2048", "hidden_dim: int = 512"),
        ],
        SHORT: [('short={"hidden_dim": 512', 'short={"hidden_dim": 2048')],
    },
    "methods/supcon.py": {
        LONG: [
            ('"learning_rate": 0.18', '"learning_rate": 0.4'),
            ('"weight_decay": 7e-5', '"weight_decay": 1e-5'),
            ('"temperature": 0.1}', '"temperature": 0.2}'),
        ],
    },
    "methods/swav.py": {
        LONG: [
            ("prototypes: int = 512", "prototypes: int = 3_000"),
            ("temperature: float = 0.1", "temperature: float = 0.2"),
            ("epsilon: float = 0.05", "epsilon: float = 0.5"),
            ("queue_size: int = 3840", "queue_size: int = 384"),
            ("queue_start: float = 0.1", "queue_start: float = 0.0"),
            ("frozen: float = 0.01", "frozen: float = 0.0"),
            ('"optimizer": "adam", "learning_rate": 2e-3', '"learning_rate": 2e-3'),
        ],
        SHORT: [('"epsilon": 0.02', '"epsilon": 0.05')],
    },
    "methods/moco.py": {
        LONG: [
            ("temperature: float = 0.1", "temperature: float = 0.2"),
            ("queue_size: int = 4096", "queue_size: int = 65_536"),
            ("target_momentum: float = 0.99", "target_momentum: float = 0.999"),
            ("bn_splits: int = 8", "bn_splits: int = 1"),
            ('long={"learning_rate": 0.03}', 'long={"learning_rate": 0.06}'),
        ],
        SHORT: [('"bn_splits": 1}', '"bn_splits": 8}')],
    },
    "methods/barlow_twins.py": {
        LONG: [
            ("redundancy: float = 5e-3", "redundancy: float = 0.5"),
            ('"weight_decay": 1e-6', '"weight_decay": 1e-4'),
            ("            **base.ASYMMETRIC,\n", ""),
        ],
    },
    "methods/vicreg.py": {
        LONG: [
            ("invariance: float = 25.0", "invariance: float = 1.0"),
            ("variance: float = 25.0\n    cov", "variance: float = 1.0\n    cov"),
            ("covariance: float = 1.0", "covariance: float = 25.0"),
        ],
    },
    "methods/dino.py": {
        LONG: [
            ("float] = (0.04, 0.04)", "float] = (0.04, 0.07)"),
            ("target_momentum: float = 0.99", "target_momentum: float = 0.996"),
            ("frozen: float = 0.005", "frozen: float = 0.0"),
            ('"student"] = "teacher"', '"student"] = "student"'),
            ("output_dim: int = 2048", "output_dim: int = 65_536"),
            ('"learning_rate": 0.12,', '"learning_rate": 0.03,'),
        ],
        SHORT: [('"result": "student"', '"result": "teacher"')],
    },
    "views/settings.py": {
        LONG: [
            (
                "scale: tuple[float, float] = (0.2,",
                "scale: tuple[float, float] = (0.08,",
            ),
            ("flip: float = 0.5", "flip: float = 0.0"),
            ("jitter: float = 0.8", "jitter: float = 1.0"),
            ("brightness: float = 0.4", "brightness: float = 0.8"),
            ("contrast: float = 0.4", "contrast: float = 0.8"),
            ("saturation: float = 0.4", "saturation: float = 0.8"),
            ("hue: float = 0.1", "hue: float = 0.4"),
            ("grayscale: float = 0.2", "grayscale: float = 0.0"),
            ("float] = (0.1, 2.0)", "float] = (0.1, 1.0)"),
        ],
    },
    "training/settings.py": {
        LONG: [
            ("momentum: float = 0.9\n", "momentum: float = 0.99\n"),
            ("warmup_epochs: float = 1.0", "warmup_epochs: float = 10.0"),
            ("final_factor: float = 0.0", "final_factor: float = 0.1"),
            (
                'schedule: Literal[optimizers.SCHEDULES] = "cosine"',
                'schedule: Literal[optimizers.SCHEDULES] = "constant"',
            ),
        ],
    },
}
