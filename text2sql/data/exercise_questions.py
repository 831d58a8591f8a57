"""The course exercise's questions on schemas that are in none of the data, with gold queries of this project.

Their ids, and the labels of their answers in runs, start with ``novel``.
"""

from __future__ import annotations

from text2sql.data.example import Example

EXERCISE_QUESTIONS = [
    Example(
        id="novel/employees",
        question="What are the names of employees in the engineering department?",
        context="CREATE TABLE employees (id INTEGER, name VARCHAR, salary REAL, department VARCHAR)",
        answer="SELECT name FROM employees WHERE department = 'engineering'",
    ),
    Example(
        id="novel/products",
        question="How many products cost more than 50 dollars?",
        context="CREATE TABLE products (id INTEGER, name VARCHAR, price REAL, category VARCHAR)",
        answer="SELECT COUNT(*) FROM products WHERE price > 50",
    ),
    Example(
        id="novel/students",
        question="What is the highest score in the science class?",
        context="CREATE TABLE students (id INTEGER, name VARCHAR, score INTEGER, class VARCHAR)",
        answer="SELECT MAX(score) FROM students WHERE class = 'science'",
    ),
    Example(
        id="novel/orders",
        question="List the top 3 customers by total order amount.",
        context="CREATE TABLE orders (id INTEGER, customer VARCHAR, amount REAL, date VARCHAR)",
        answer="SELECT customer FROM orders GROUP BY customer ORDER BY SUM(amount) DESC LIMIT 3",
    ),
    Example(
        id="novel/enrollments",
        question="How many students are enrolled in each department?",
        context="CREATE TABLE courses (id INTEGER, name VARCHAR, department VARCHAR); "
        "CREATE TABLE enrollments (student_id INTEGER, course_id INTEGER, grade VARCHAR)",
        answer="SELECT courses.department, COUNT(DISTINCT enrollments.student_id) FROM courses "
        "JOIN enrollments ON courses.id = enrollments.course_id GROUP BY courses.department",
    ),
]
