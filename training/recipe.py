"""A recipe: everything that decides a training run but the labels, in one TOML file. Unknown keys are refused."""

import json
import re
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"


class Recipe(BaseModel):
    """Hyper-parameters; defaults are those of the shipped model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    base_model: str = Field(description="a name from `base_models`, any Hugging Face name, or a local folder")
    epochs: int = Field(ge=1)
    batch_paragraphs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    head_learning_rate: float = Field(gt=0)
    layer_decay: float = Field(gt=0, le=1, description="each layer learns by this factor less than the one above")
    warmup: float = Field(ge=0, lt=1, description="share of the steps")
    weight_decay: float = Field(ge=0)
    dropout: float = Field(ge=0, lt=1)
    voice_weight: float = Field(ge=0, description="of the voice loss beside the label loss")
    distillation: float = Field(ge=0, le=1, description="share of the loss that follows a teacher, if one is given")
    recut: float = Field(0.0, ge=0, le=1, description="share of the documents that come once more, cut elsewhere")
    noise: float = Field(0.0, ge=0, le=1, description="share of the paragraphs that come once more, misspelt")
    seeds: tuple[int, ...] = Field(min_length=1, description="one run each; their weights are averaged")


def read_recipe(name_or_path: str, *, base_model: str | None = None) -> tuple[Recipe, str]:
    """A recipe by the name of a file in `training/recipes/`, or by path, and its text. Raises RecipeError.

    With `base_model`, that takes the place of the recipe's own, in the text too.
    """
    path = RECIPES / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    try:
        text = path.read_text(encoding="utf-8")
        if base_model is not None:
            text = re.sub(r"(?m)^base_model\s*=.*$", lambda _: f"base_model = {json.dumps(base_model)}", text)
        return Recipe.model_validate(tomllib.loads(text)), text
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise RecipeError(f"there is no recipe {name_or_path!r}; the project has {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise RecipeError(f"{path}: {reasons}") from error
