from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Note",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("text", models.CharField(max_length=200)),
                ("attached", models.FileField(blank=True, upload_to="notes/")),
                ("made", models.DateTimeField(auto_now_add=True)),
            ],
        )
    ]
