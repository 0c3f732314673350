"""The rows that the admin shows. The tables themselves are created after every migration, by `_tables`."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Adds the model without a table."""

    initial = True
    dependencies: ClassVar = []
    operations: ClassVar = [
        migrations.CreateModel(
            name="Thread",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("owner", models.TextField()),
                ("thread_id", models.TextField()),
                ("agent_id", models.TextField()),
                ("name", models.TextField(null=True)),
                ("archived", models.BooleanField()),
                ("created_at", models.FloatField()),
                ("updated_at", models.FloatField()),
                ("used_at", models.FloatField()),
                ("runs", models.IntegerField()),
            ],
            options={
                "db_table": '"copilot_runtime"."threads"',
                "managed": False,
                "base_manager_name": "objects",
                "default_permissions": ("view", "delete"),
            },
        )
    ]
